"""Text from pages: the core's compiled steps and the C of exported models."""
