"""Who calls, and what they may: keys, roles, and the check of every gRPC call."""
