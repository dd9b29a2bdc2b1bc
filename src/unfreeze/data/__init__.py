"""What the user brings: files read as they are, columns found, tags and spans normalised, rows split."""
