"""A linear head on fixed features: a 2-D scattering transform, which learns nothing."""
