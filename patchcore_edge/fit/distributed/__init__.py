"""One job in several processes, on one machine or on many: started by torchrun, exchanging by torch.distributed."""
