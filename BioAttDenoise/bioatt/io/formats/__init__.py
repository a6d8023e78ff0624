"""Volume formats that are read or checked without ITK."""
