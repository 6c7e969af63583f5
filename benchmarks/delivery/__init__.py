"""How far tokens lag behind the model on their way out, and what that costs, for every sink and for the naive way."""
