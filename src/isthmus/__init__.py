"""Isthmus joins several OpenStack regions ("sites") into one cloud that survives the loss of a site."""
