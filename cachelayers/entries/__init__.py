"""What is stored: keys, values, serializers, compression, signatures. Touches no database."""
