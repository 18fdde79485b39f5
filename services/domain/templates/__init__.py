"""Templates: what a subscription makes of an event before it is sent.

template.py has what a template is, event.py what it sees, presets/ those that the service brings. sources.py rewrites
and renders the source of somebody else, in a process of its own (child.py) that sandbox.py talks to. renderer.py is
what workers, consumers and previews use.
"""
