"""What the package needs inside and promises to nobody."""
