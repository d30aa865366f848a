"""What a cleaning run changed, or what two runs decide differently: `arhn diff`."""
