"""`kindred forget`: removes customers from everything that Kindred keeps."""
