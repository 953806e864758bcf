"""One file for each protocol; `MAKERS` are functions of a generator and their shares."""

from families import (agents, anthropic_messages, cohere_chat, events, gemini, mcp_rpc, mistral, ollama, openai_chat,
                      openai_responses, others)

ALL = [openai_chat, openai_responses, anthropic_messages, gemini, ollama, cohere_chat, mistral, mcp_rpc, events, agents, others]
