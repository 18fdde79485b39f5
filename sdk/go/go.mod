module example.com/webhook-service/sdk/go

go 1.24
