"""Files and other tools: safetensors on disk."""
