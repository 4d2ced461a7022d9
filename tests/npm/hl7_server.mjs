// SPDX-License-Identifier: Apache-2.0
// Receives with node-hl7-server on PORT of loopback: writes MSH-10 of each message as a line, and lets the library answer AA.
// PORT [CERTIFICATE KEY]: with these inside TLS.
import { readFileSync } from 'node:fs';
import { Server } from 'node-hl7-server';

const [port, certificate, key] = process.argv.slice(2);
const server = new Server(certificate ? { tls: { cert: readFileSync(certificate), key: readFileSync(key) } } : {});

server.createInbound({ port: Number(port) }, async (req, res) => {
  console.log(req.getMessage().get('MSH.10').toString());
  await res.sendResponse('AA');
});
