"""What motion is conditioned on: the request, and encoders of its parts."""
