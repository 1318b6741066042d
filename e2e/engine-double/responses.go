package main

// responses is OpenAI's newer API. Its events carry the text by and by, and at the end all of it.
type responses struct{}

func (responses) prefix() string       { return "resp_" }
func (responses) prompt(r request) int { return estimate(text(r.Instructions) + text(r.Input)) }
func (responses) fail(status int, kind, message, param string) any {
	return openAIFailure(status, kind, message, param)
}

func (responses) whole(a reply, text string, ended ending, u usage) any {
	return a.response(responseStatus(ended), []any{a.message("completed", outputText(text))}, &u)
}

func (responses) opening(a reply, _ usage) []event {
	begun := a.response("in_progress", []any{}, nil)
	return numbered(0, []object{
		{"type": "response.created", "response": begun},
		{"type": "response.in_progress", "response": begun},
		{"type": "response.output_item.added", "output_index": 0, "item": a.message("in_progress")},
		a.part(object{"type": "response.content_part.added", "part": outputText("")}),
	})
}

func (responses) piece(a reply, text string, _ ending, u usage) []event {
	delta := a.part(object{"type": "response.output_text.delta", "delta": text, "logprobs": []any{}})
	return numbered(3+u.completion, []object{delta})
}

func (responses) closing(a reply, text string, ended ending, u usage) []event {
	item := a.message("completed", outputText(text))
	return numbered(4+u.completion, []object{
		a.part(object{"type": "response.output_text.done", "text": text, "logprobs": []any{}}),
		a.part(object{"type": "response.content_part.done", "part": outputText(text)}),
		{"type": "response.output_item.done", "output_index": 0, "item": item},
		{"type": "response.completed", "response": a.response(responseStatus(ended), []any{item}, &u)},
	})
}

func (a reply) response(status string, output []any, u *usage) object {
	body := object{
		"id": a.id, "object": "response", "created_at": a.created, "model": a.model, "status": status,
		"output": output, "usage": nil, "incomplete_details": nil, "max_output_tokens": a.limit,
		"parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": []any{}, "top_p": 1.0,
		"background": false, "service_tier": "auto", "truncation": "disabled", "metadata": nil,
	}
	if status == "incomplete" {
		body["incomplete_details"] = object{"reason": "max_output_tokens"}
	}
	if u != nil {
		body["usage"] = object{
			"input_tokens": u.prompt, "output_tokens": u.completion, "total_tokens": u.prompt + u.completion,
			"input_tokens_details":  object{"cached_tokens": 0, "cache_write_tokens": 0},
			"output_tokens_details": object{"reasoning_tokens": 0, "tool_output_tokens": 0},
		}
	}
	return body
}

// message is the one item of the output.
func (a reply) message(status string, content ...any) object {
	if content == nil {
		content = []any{}
	}
	return object{"id": a.messageID(), "type": "message", "role": "assistant", "status": status, "content": content}
}

func (a reply) messageID() string { return "msg_" + a.id[len("resp_"):] }

// part places an event at the one part of the one item.
func (a reply) part(one object) object {
	one["item_id"], one["output_index"], one["content_index"] = a.messageID(), 0, 0
	return one
}

func outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

func responseStatus(ended ending) string {
	switch ended {
	case endLength:
		return "incomplete"
	case endAbort:
		return "cancelled"
	default:
		return "completed"
	}
}

func numbered(first int, bodies []object) []event {
	events := []event{}
	for index, body := range bodies {
		body["sequence_number"] = first + index
		events = append(events, event{name: body["type"].(string), data: body})
	}
	return events
}
