"""The network: layers, attention, kernels. May import no other room; needs torch alone."""
