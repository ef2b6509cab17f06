"""The hostile collection: files made to do harm, and a runner that watches what filterlens does with them."""
