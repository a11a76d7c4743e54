// The three services under PM2, and JupyterLab with CTP_LAB=1. PM2 starts Python itself, without a shell between them, so
// that a signal reaches the service and a killed service is seen at once.
const path = require("path");

const home = process.env.CTP_HOME || path.join(__dirname, "var");
const python = path.join(__dirname, ".venv/bin/python");

// PM2 writes the environment of every process to a world-readable dump. filter_env drops each name that contains one of
// the texts; every name contains "" (`true` should do this and does not in 7.0), so the list below is all that remains.
const environment = {
  CTP_HOME: home,
  CTP__LOGS__CONSOLE: "false", // the rotated files in logs/ have it all; PM2's own grow without end
  HOME: process.env.HOME || home,
  LANG: "C.UTF-8",
  PATH: "/usr/local/bin:/usr/bin:/bin",
  PYTHONUNBUFFERED: "1",
};

const service = (name, memory, ...options) => ({
  name: `crypto-trader-${name}`,
  script: python,
  args: ["-m", `services.crypto_trader_${name}`, ...options],
  interpreter: "none",
  exec_mode: "fork",
  cwd: __dirname,
  env: environment,
  filter_env: [""],
  autorestart: true,
  exp_backoff_restart_delay: 200, // 0.2 s after the first crash, 15 s at most, back to 0.2 s after half a minute
  treekill: false, // the service alone is asked to stop; it ends its children in order, and they die with it if it cannot
  stop_exit_codes: [78], // wrong configuration: a person must act, restarting cannot help
  kill_timeout: 20000, // the bot finishes sending and recording before it goes
  max_memory_restart: memory,
  out_file: path.join(home, "logs", `${name}.out.log`),
  error_file: path.join(home, "logs", `${name}.error.log`),
  merge_logs: true,
});

const services = [service("bot", "800M"), service("backup", "800M"), service("web", "1200M")];

module.exports = {
  apps: process.env.CTP_LAB === "1" ? [...services, service("lab", "6G", "--no-browser", "--ServerApp.answer_yes=True")] : services,
};
