"""Files and other tools: safetensors on disk, weights in others' layouts."""
