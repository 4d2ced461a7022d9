// SPDX-License-Identifier: Apache-2.0
// Sends messages with node-hl7-client, one after the other on one connection: PORT [CA CERTIFICATE KEY], and on standard input a JSON list of messages of version
// 2.6. Writes a JSON list of what came back: MSA-1 and MSA-2 of each.
import { readFileSync } from 'node:fs';
import Client, { Message } from 'node-hl7-client';

const [port, ca, certificate, key] = process.argv.slice(2);
const texts = JSON.parse(readFileSync(0, 'utf8'));
const tls = ca ? { ca: readFileSync(ca), cert: readFileSync(certificate), key: readFileSync(key), rejectUnauthorized: true, servername: 'localhost' } : undefined;
const client = new Client({ host: '127.0.0.1', version: '2.6', ...(tls ? { tls } : {}) });
const answers = [];
let came;
const connection = client.createConnection({ port: Number(port) }, async (response) => {
  const message = response.getMessage();
  answers.push([message.get('MSA.1').toString(), message.get('MSA.2').toString()]);
  came();
});
connection.on('client.error', (failure) => {
  console.error(failure);
  process.exit(1);
});
for (const text of texts) {
  const answered = new Promise((resolve) => { came = resolve; });
  await connection.sendMessage(new Message({ text }));
  await answered;
}
await connection.close();
console.log(JSON.stringify(answers));
process.exit(0);
