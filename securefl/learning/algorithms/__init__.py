"""Algorithms for unlike clients: FedAvg, FedProx, SCAFFOLD, FedDyn, FedNova, FedBN, FedRep, Ditto.

An algorithm has up to three parts, and each is one short file:

steps       what a client adds to the gradient of each local step
client      what it keeps from round to round, and what it sends
server      what the server sends with the model, and how it uses the rule's estimate
"""
