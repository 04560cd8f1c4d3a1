"""Does it help? One config's arms, controls and method, over several seeds, and the table of them."""
