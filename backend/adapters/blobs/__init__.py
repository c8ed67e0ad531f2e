"""Places for files, behind the port `BlobStore`."""
