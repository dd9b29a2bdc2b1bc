"""What we start from: load an encoder, build a model on it, read its parts by depth."""
