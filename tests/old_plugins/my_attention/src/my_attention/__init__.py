"""A part for lightning-components: attention/my_attention."""
