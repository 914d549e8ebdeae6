// @aws-sdk/client-s3 and minio-js behind the verbs of tests/rig/clients/lines.py: where to in the first line, then one JSON
// request a line in, one reply a line out.
import { createReadStream, createWriteStream, readFileSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const target = JSON.parse((await lines.next()).value);
const MIB = 1 << 20;

// A stream that tells nobody its length.
const pipe = (body) => createReadStream(body).pipe(new PassThrough());

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

async function aws() {
  const s3 = await import("@aws-sdk/client-s3");
  const { Upload } = await import("@aws-sdk/lib-storage");
  const { getSignedUrl } = await import("@aws-sdk/s3-request-presigner");
  const client = new s3.S3Client({
    endpoint: target.endpoint,
    region: target.region,
    forcePathStyle: true,
    maxAttempts: 1,
    ...(target.checksums === "required" && {
      requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED",
    }),
    credentials: { accessKeyId: target.access_key, secretAccessKey: target.secret_key },
  });
  const Bucket = target.bucket;
  const send = (Command, input) => client.send(new Command({ Bucket, ...input }));
  return {
    // A stream of known length: the SDK sends it aws-chunked with an unsigned trailer, on both schemes.
    put: ({ key, body, metadata }) =>
      send(s3.PutObjectCommand, {
        Key: key, Body: createReadStream(body), ContentLength: statSync(body).size, Metadata: metadata ?? undefined,
      }),
    put_buffer: ({ key, body }) => send(s3.PutObjectCommand, { Key: key, Body: readFileSync(body) }),
    put_pipe: ({ key, body }) => new Upload({ client, params: { Bucket, Key: key, Body: pipe(body) }, partSize: 5 * MIB }).done(),
    put_checked: ({ key, body, algorithm }) =>
      send(s3.PutObjectCommand, { Key: key, Body: readFileSync(body), ChecksumAlgorithm: algorithm }),
    get: async ({ key, into }) =>
      pipeline((await send(s3.GetObjectCommand, { Key: key })).Body, createWriteStream(into)),
    head: async ({ key }) => {
      const reply = await send(s3.HeadObjectCommand, { Key: key });
      return [reply.ContentLength, reply.Metadata];
    },
    delete: ({ key }) => send(s3.DeleteObjectCommand, { Key: key }),
    list: async ({ prefix }) => {
      const keys = [];
      for await (const page of s3.paginateListObjectsV2({ client, pageSize: 3 }, { Bucket, Prefix: prefix }))
        for (const entry of page.Contents ?? []) keys.push(entry.Key);
      return keys;
    },
    multipart: async ({ key, body }) => {
      const bytes = readFileSync(body);
      const { UploadId } = await send(s3.CreateMultipartUploadCommand, { Key: key });
      const Parts = [];
      for (let at = 0; at < bytes.length; at += 5 * MIB) {
        const PartNumber = Parts.length + 1;
        const Body = bytes.subarray(at, at + 5 * MIB);
        const { ETag } = await send(s3.UploadPartCommand, { Key: key, UploadId, PartNumber, Body });
        Parts.push({ ETag, PartNumber });
      }
      const listed = await send(s3.ListPartsCommand, { Key: key, UploadId });
      if (listed.Parts.length !== Parts.length) throw new Error(`ListParts shows ${listed.Parts.length} of ${Parts.length}`);
      await send(s3.CompleteMultipartUploadCommand, { Key: key, UploadId, MultipartUpload: { Parts } });
    },
    presign_get: ({ key }) => getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: key }), { expiresIn: 300 }),
    presign_put: ({ key }) => getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: key }), { expiresIn: 300 }),
    copy: ({ source, key }) =>
      send(s3.CopyObjectCommand, { Key: key, CopySource: `${Bucket}/${encodeURIComponent(source)}` }),
    range: async ({ key, first, last }) =>
      (await collect((await send(s3.GetObjectCommand, { Key: key, Range: `bytes=${first}-${last}` })).Body)).toString("base64"),
    delete_many: async ({ keys }) => {
      const reply = await send(s3.DeleteObjectsCommand, { Delete: { Objects: keys.map((Key) => ({ Key })) } });
      if (reply.Errors?.length) throw new Error(JSON.stringify(reply.Errors));
    },
  };
}

async function minio() {
  const { Client, CopyConditions } = await import("minio");
  const url = new URL(target.endpoint);
  const client = new Client({
    endPoint: url.hostname,
    port: Number(url.port),
    useSSL: url.protocol === "https:",
    region: target.region,
    pathStyle: true,
    accessKey: target.access_key,
    secretKey: target.secret_key,
    partSize: 64 * MIB,
  });
  const splitting = new Client({
    endPoint: url.hostname, port: Number(url.port), useSSL: url.protocol === "https:", region: target.region,
    pathStyle: true, accessKey: target.access_key, secretKey: target.secret_key, partSize: 5 * MIB,
  });
  const bucket = target.bucket;
  return {
    put: ({ key, body, metadata }) =>
      client.putObject(bucket, key, createReadStream(body), statSync(body).size, metadata ?? undefined),
    put_buffer: ({ key, body }) => client.putObject(bucket, key, readFileSync(body)),
    put_pipe: ({ key, body }) => client.putObject(bucket, key, pipe(body)),
    get: async ({ key, into }) => pipeline(await client.getObject(bucket, key), createWriteStream(into)),
    head: async ({ key }) => {
      const found = await client.statObject(bucket, key);
      const meta = Object.entries(found.metaData).filter(([name]) => name !== "content-type");
      return [found.size, Object.fromEntries(meta)];
    },
    delete: ({ key }) => client.removeObject(bucket, key),
    list: async ({ prefix }) => {
      const keys = [];
      for await (const entry of client.listObjectsV2(bucket, prefix, true)) keys.push(entry.name);
      return keys;
    },
    multipart: ({ key, body }) => splitting.putObject(bucket, key, createReadStream(body), statSync(body).size),
    presign_get: ({ key }) => client.presignedGetObject(bucket, key, 300),
    presign_put: ({ key }) => client.presignedPutObject(bucket, key, 300),
    copy: ({ source, key }) => client.copyObject(bucket, key, `/${bucket}/${source}`, new CopyConditions()),
    range: async ({ key, first, last }) =>
      (await collect(await client.getPartialObject(bucket, key, first, last - first + 1))).toString("base64"),
    delete_many: ({ keys }) => client.removeObjects(bucket, keys),
  };
}

const SILENT = ["put", "put_buffer", "put_pipe", "put_checked", "delete", "copy", "multipart"];
const verbs = await { aws, minio }[process.argv[2]]();
for await (const line of lines) {
  const { verb, ...words } = JSON.parse(line);
  let reply;
  try {
    if (!verbs[verb]) reply = { cannot: `has no ${verb.replace("_", " ")}` };
    else {
      const value = (await verbs[verb](words)) ?? null;
      reply = { value: SILENT.includes(verb) ? null : value };
    }
  } catch (error) {
    reply = { error: `${error.name} ${error.code ?? ""} ${error.message}`.slice(0, 300) };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}
