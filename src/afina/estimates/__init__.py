"""What a recipe will take on this machine, foretold from a short rehearsal of the real parts."""
