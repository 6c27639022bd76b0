"""A site's table or images, read and checked against the agreed schema, made ready for learning without leaving the site."""
