"""The scenario that `securefl init` writes."""

SCENARIO = """\
# A federation of four hospitals: local DP-SGD, epsilon 8, masked sums. Every key is optional.
# Without the table [channel] updates travel plain, and the server sees every one of them.
seed = 1
rounds = 20

[data]
name = "heart"             # securefl ls data
partition = "natural"      # the four hospitals; "halves" cuts each in two; "pooled" is one site
split_seed = 0             # which records are for training

[model]
name = "logistic"          # securefl ls models

[training]
kind = "dp_sgd"            # or "sgd", without the privacy table
batch = 32                 # expected records a step
epochs = 1                 # local epochs a round
lr = 0.5
clip = 1.0                 # bound on one record's gradient norm

[privacy]
unit = "example"           # what is protected: one record of one client
place = "local"            # noise is added at each client; holds against the server too
epsilon = 8.0              # over all rounds; the noise is calibrated to it
delta = 1e-5               # below 1 / records
noise = "system"           # "seeded" repeats bit for bit, and protects nobody
records = [200, 173, 31, 86]   # public training sizes, declared; the real ones are never read

[channel]
kind = "masked"            # the server opens sums only; who sees what: securefl ls threats
min_cohort = 3             # fewer updates abandon the round

[defense]
rule = "mean"              # securefl ls rules; with parameters: { name = "trimmed_mean", f = 1 }

# [attack]                 # uncomment to corrupt a client
# name = "sign_flip"       # securefl ls attacks
# scale = 5.0
# clients = [0]

[server]
step = "fedavg"            # securefl ls steps
"""
