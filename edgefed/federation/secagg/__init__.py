"""Secure aggregation (SecAgg+) in Flower messages: the server learns the sum of a round's updates and no update.

Bell, Bonawitz, Gascón, Lepoint, Raykova (2020), "Secure single-server aggregation with (poly)logarithmic overhead",
CCS; Bonawitz et al. (2017), "Practical secure aggregation for privacy-preserving machine learning", CCS.
``docs/secure_aggregation.md`` says what it protects, from whom, and what it does not.
"""
