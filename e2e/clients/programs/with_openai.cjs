// OpenAI's SDK for Node, as it comes.
const OpenAI = require("openai");

async function main(model, question, way) {
  const client = new OpenAI();
  const asked = { model, messages: [{ role: "user", content: question }] };
  if (way === "whole") {
    const whole = await client.chat.completions.create(asked);
    return [whole.choices[0].message.content];
  }
  const pieces = [];
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    pieces.push(chunk.choices[0].delta.content ?? "");
  }
  return pieces;
}

main(...process.argv.slice(2)).then((pieces) => console.log(JSON.stringify(pieces)));
