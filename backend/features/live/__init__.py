"""What goes on in chats, told while it happens: a bus of events, and sockets that listen to it."""
