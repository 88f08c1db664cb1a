"""One file as many pieces: cut, made by processes of their own, joined without a seam."""
