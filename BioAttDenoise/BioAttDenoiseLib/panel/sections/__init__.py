"""The collapsible parts of the panel, one file each."""
