"use strict";

document.getElementById("origin").textContent = decodeURIComponent(location.hash.slice(1));
