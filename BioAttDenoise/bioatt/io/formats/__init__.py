"""Volume formats read or checked without ITK."""
