"""The networks: pixel decoder, masked-attention decoder, and the model that joins them."""
