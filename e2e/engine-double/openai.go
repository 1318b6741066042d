package main

// chat, completion and transcription are OpenAI's older APIs, which share their envelopes.
type (
	chat          struct{}
	completion    struct{}
	transcription struct{}
)

func (chat) prefix() string          { return "chatcmpl-" }
func (completion) prefix() string    { return "cmpl-" }
func (transcription) prefix() string { return "trsc-" }

const tokensPerSecond = 50 // of audio, as Whisper's encoder has it

func (chat) prompt(r request) int       { return estimate(text(r.Messages)) }
func (completion) prompt(r request) int { return estimate(text(r.Prompt)) }

// The audio is taken for 16,000 samples of two bytes a second.
func (transcription) prompt(r request) int { return max(1, r.audioBytes*tokensPerSecond/32000) }

func (chat) fail(status int, kind, message, param string) any {
	return openAIFailure(status, kind, message, param)
}
func (completion) fail(status int, kind, message, param string) any {
	return openAIFailure(status, kind, message, param)
}
func (transcription) fail(status int, kind, message, param string) any {
	return openAIFailure(status, kind, message, param)
}

func (chat) whole(a reply, text string, ended ending, u usage) any {
	message := object{"role": "assistant", "content": text}
	return u.in(envelope(a, "chat.completion", choice(object{"message": message}, ended)))
}

func (completion) whole(a reply, text string, ended ending, u usage) any {
	return u.in(envelope(a, "text_completion", choice(object{"text": text}, ended)))
}

func (transcription) whole(_ reply, text string, _ ending, u usage) any {
	return object{"text": text, "usage": object{"type": "duration", "seconds": (u.prompt + tokensPerSecond - 1) / tokensPerSecond}}
}

func (chat) opening(a reply, u usage) []event {
	delta := object{"role": "assistant", "content": ""}
	return a.chunk("chat.completion.chunk", choice(object{"delta": delta}, ""), u)
}
func (completion) opening(reply, usage) []event    { return nil }
func (transcription) opening(reply, usage) []event { return nil }

func (chat) piece(a reply, text string, ended ending, u usage) []event {
	return a.chunk("chat.completion.chunk", choice(object{"delta": object{"content": text}}, ended), u)
}

func (completion) piece(a reply, text string, ended ending, u usage) []event {
	return a.chunk("text_completion", choice(object{"text": text}, ended), u)
}

func (transcription) piece(a reply, text string, ended ending, u usage) []event {
	one := object{"delta": object{"content": text}}
	if ended != "" {
		one["finish_reason"] = ended
	}
	return a.chunk("transcription.chunk", one, u)
}

func (chat) closing(a reply, _ string, _ ending, u usage) []event {
	return a.lastChunks("chat.completion.chunk", u)
}

func (completion) closing(a reply, _ string, _ ending, u usage) []event {
	return a.lastChunks("text_completion", u)
}

func (transcription) closing(a reply, _ string, _ ending, u usage) []event {
	return a.lastChunks("transcription.chunk", u)
}

func (a reply) chunk(kind string, one object, u usage) []event {
	body := envelope(a, kind, one)
	if a.continuous {
		body = u.in(body)
	}
	return []event{{data: body}}
}

func (a reply) lastChunks(kind string, u usage) []event {
	done := event{data: "[DONE]"}
	if !a.usage {
		return []event{done}
	}
	return []event{{data: u.in(envelope(a, kind))}, done}
}

func envelope(a reply, kind string, choices ...any) object {
	if choices == nil {
		choices = []any{}
	}
	return object{"id": a.id, "object": kind, "created": a.created, "model": a.model, "choices": choices}
}

func choice(content object, ended ending) object {
	content["index"], content["logprobs"], content["finish_reason"] = 0, nil, nil
	if ended != "" {
		content["finish_reason"] = ended
	}
	return content
}

// in adds the numbers of tokens to a body.
func (u usage) in(body object) object {
	body["usage"] = object{
		"prompt_tokens": u.prompt, "completion_tokens": u.completion, "total_tokens": u.prompt + u.completion,
	}
	return body
}
