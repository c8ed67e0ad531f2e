"""The Responses format of OpenAI: what it asks for, and the events or the object it is answered with."""
