"""Where Flower lives: messages, the round loop, strategies, the ServerApp and the ClientApp."""
