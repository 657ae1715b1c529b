"""What is made from a finished release for other places: a merged model, an adapter's folder."""
