"""From a trained module to what runs elsewhere: the step graph, streaming, integers, C, boards."""
