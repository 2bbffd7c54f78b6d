"""Storage: object stores (a local directory or gs://) and the model registry on top of them."""
