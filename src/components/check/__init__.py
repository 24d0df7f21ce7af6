"""The battery: what every part is held to, one short function a property, for our parts and anyone's."""
