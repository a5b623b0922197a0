"""The network: layers, attention, kernels. Imports torch alone."""
