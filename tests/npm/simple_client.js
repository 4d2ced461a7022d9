// SPDX-License-Identifier: Apache-2.0
// Sends messages with simple-hl7's client, one after the other on one connection: PORT, and on standard input a JSON list of messages. Writes a JSON list of
// what came back: MSA-1 and MSA-2 of each.
const hl7 = require('simple-hl7');

const messages = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port: Number(process.argv[2]), keepalive: true });
const parser = new hl7.Parser({ segmentSeperator: '\r' });
const answers = [];

function next() {
  if (messages.length === 0) {
    console.log(JSON.stringify(answers));
    client.close();
    return;
  }
  client.send(parser.parse(messages.shift()), (failure, answer) => {
    if (failure) {
      console.error(failure);
      process.exit(1);
    }
    const msa = answer.getSegment('MSA');
    answers.push([msa.getComponent(1, 1).toString(), msa.getComponent(2, 1).toString()]);
    setImmediate(next); // it takes itself for free only after this
  });
}
client.connect((failure) => {
  if (failure) {
    console.error(failure);
    process.exit(1);
  }
  next();
});
