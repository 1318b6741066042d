package main

// messages is Anthropic's API.
type messages struct{}

func (messages) prefix() string       { return "chatcmpl-" }
func (messages) prompt(r request) int { return estimate(text(r.System) + text(r.Messages)) }

func (messages) fail(_ int, kind, message, _ string) any {
	return object{"type": "error", "error": object{"type": kind, "message": message}}
}

func (messages) whole(a reply, text string, ended ending, u usage) any {
	body := message(a, []any{object{"type": "text", "text": text}}, u)
	if reason := stopReason(ended); reason != nil {
		body["stop_reason"] = reason
	}
	return body
}

func (messages) opening(a reply, u usage) []event {
	begun := message(a, []any{}, u)
	begun["stop_reason"], begun["stop_sequence"] = nil, nil
	return typed(
		object{"type": "message_start", "message": begun},
		object{"type": "content_block_start", "index": 0, "content_block": object{"type": "text", "text": ""}},
	)
}

func (messages) piece(_ reply, text string, _ ending, _ usage) []event {
	if text == "" {
		return nil
	}
	delta := object{"type": "text_delta", "text": text}
	return typed(object{"type": "content_block_delta", "index": 0, "delta": delta})
}

func (messages) closing(_ reply, _ string, ended ending, u usage) []event {
	return typed(
		object{"type": "content_block_stop", "index": 0},
		object{
			"type": "message_delta", "usage": u.anthropic(),
			"delta": object{"stop_reason": stopReason(ended), "stop_sequence": nil},
		},
		object{"type": "message_stop"},
	)
}

func message(a reply, content []any, u usage) object {
	return object{
		"id": a.id, "type": "message", "role": "assistant", "model": a.model, "content": content,
		"usage": u.anthropic(),
	}
}

func (u usage) anthropic() object {
	return object{"input_tokens": u.prompt, "output_tokens": u.completion}
}

func stopReason(ended ending) any {
	switch ended {
	case endStop:
		return "end_turn"
	case endLength:
		return "max_tokens"
	default:
		return nil
	}
}

func typed(bodies ...object) []event {
	events := []event{}
	for _, body := range bodies {
		events = append(events, event{name: body["type"].(string), data: body})
	}
	return events
}
