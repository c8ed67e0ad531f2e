"""What goes on in chats and with documents, told while it happens: a bus of events, and sockets that listen to it."""
